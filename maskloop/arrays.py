"""Names for the arrays that travel between modules."""

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""
Mask = npt.NDArray[np.bool_]
"""(H, W)."""
Plane = npt.NDArray[np.float32]
"""(H, W), probabilities in 0..1."""
