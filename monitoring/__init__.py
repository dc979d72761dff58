"""What production sees and how well the model does; and what is done about it."""
