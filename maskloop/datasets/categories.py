"""Names of the categories of Pascal VOC and COCO, as the published files spell them."""

VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""Pascal VOC's categories; number n of a file is the n-th, from 1 on."""

SEEN = frozenset({
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
})  # fmt: skip
"""The categories of VOC under COCO's names: what a model trained on SBD has seen (arXiv 2203.05145)."""

STUFF = frozenset({
    "banner", "blanket", "bridge", "building-other-merged", "cabinet-merged", "cardboard", "ceiling-merged",
    "counter", "curtain", "dirt-merged", "door-stuff", "fence-merged", "floor-other-merged", "floor-wood",
    "flower", "food-other-merged", "fruit", "grass-merged", "gravel", "house", "light", "mirror-stuff",
    "mountain-merged", "net", "paper-merged", "pavement-merged", "pillow", "platform", "playingfield",
    "railroad", "river", "road", "rock-merged", "roof", "rug-merged", "sand", "sea", "shelf",
    "sky-other-merged", "snow", "stairs", "table-merged", "tent", "towel", "tree-merged", "wall-brick",
    "wall-other-merged", "wall-stone", "wall-tile", "wall-wood", "water-other", "window-blind",
    "window-other",
})  # fmt: skip
"""What COCO's panoptic annotations call stuff: regions without countable instances."""
