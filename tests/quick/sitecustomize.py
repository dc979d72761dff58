"""Read by each Python that these tests start: half a thousand import MLflow, and do little else.

Our own commands do the same (registry/console.py says why); MLflow's do not.
"""

import atexit
import gc

gc.set_threshold(20_000, 20, 100)
atexit.register(gc.freeze)
