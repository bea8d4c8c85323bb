"""maskloop: click-to-mask models that get better as people label."""

import os

# Torch's threads wait for each other in busy loops, ten times slower where another program shares the cores.
# The setting is read once, when torch is imported, so it stands before every other import of this package.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
