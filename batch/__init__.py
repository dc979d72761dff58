"""Tables and folders of files predicted in chunks, resumable, by a verified version."""
