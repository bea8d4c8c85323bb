import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter import brush

from maskloop.errors import MaskError
from maskloop.masks import (
    decode_brush,
    decode_coco,
    ellipse_to_mask,
    encode_brush,
    encode_coco,
    mask_to_polygons,
    polygon_to_mask,
    rectangle_to_mask,
)
from maskloop.runs import Runs

# a busy machine makes no test fail
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
masks = shapes.flatmap(lambda shape: arrays(bool, shape))
smooth_masks = shapes.flatmap(lambda shape: arrays(bool, shape, fill=st.booleans()))


def sdk_decode(rle, height, width):
    return brush.decode_rle(rle).reshape(height, width, 4)[:, :, 3] > 127


def write_brush(tokens, word_size=8, sizes=(3, 4, 8, 16), count=None):
    """The format written plainly: tokens are (is_run, which size, words or (word, length))."""
    body, total = "", 0
    for is_run, which, content in tokens:
        length = content[1] if is_run else len(content)
        words = [content[0]] if is_run else content
        body += f"{int(is_run)}{which:02b}{length - 1:0{sizes[which]}b}"
        body += "".join(f"{word:0{word_size}b}" for word in words)
        total += length
    head = f"{total if count is None else count:032b}{word_size - 1:05b}" + "".join(
        f"{s - 1:04b}" for s in sizes
    )
    bits = head + body
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@st.composite
def streams(draw, word_size=8):
    """Runs and literal words in a random layout, whose number of values is a multiple of four."""
    sizes = tuple(draw(st.lists(st.integers(1, 16), min_size=4, max_size=4)))
    levels = st.integers(0, 255)
    tokens = []
    for _ in range(draw(st.integers(1, 12))):
        which = draw(st.integers(0, 3))
        longest = min(1 << sizes[which], 90)
        if draw(st.booleans()):
            tokens.append((True, which, (draw(levels), draw(st.integers(1, longest)))))
        else:
            tokens.append((False, which, draw(st.lists(levels, min_size=1, max_size=longest))))
    total = sum(content[1] if is_run else len(content) for is_run, _, content in tokens)
    widest = max(range(4), key=lambda which: sizes[which])
    for _ in range(-total % 4):
        tokens.append((True, widest, (draw(levels), 1)))
    total += -total % 4
    return write_brush(tokens, word_size, sizes), total // 4


class TestEncodeBrush:
    @given(masks | smooth_masks)
    def test_encode_brush__same_bytes_as_the_sdk(self, mask):
        assert encode_brush(mask) == brush.mask2rle(mask.astype(np.uint8) * 255)

    def test_encode_brush__by_hand(self):
        # one pixel: a run of 4 values 255 -> 1 00 011 11111111 after the header, then zeros
        bits = f"{4:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + "1" + "00" + "011" + "11111111"
        expected = int(bits.ljust(72, "0"), 2).to_bytes(9, "big")
        assert bytes(encode_brush(np.ones((1, 1), dtype=bool))) == expected

    @pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 32768, 32769, 50000])
    def test_encode_brush__lengths_around_the_limits_of_a_token(self, pixels):
        mask = np.zeros((1, pixels + 1), dtype=bool)
        mask[0, :pixels] = True
        rle = encode_brush(mask)
        assert rle == brush.mask2rle(mask.astype(np.uint8) * 255)
        np.testing.assert_array_equal(decode_brush(rle, 1, pixels + 1), mask)

    def test_encode_brush__stream_of_whole_bytes_gets_the_padding_byte_of_the_sdk(self):
        found = 0
        for width in range(1, 200):
            mask = (np.arange(width) // 3 % 2 == 0)[None]
            rle = encode_brush(mask)
            assert rle == brush.mask2rle(mask.astype(np.uint8) * 255)
            runs = 1 + np.count_nonzero(np.diff(mask[0]))
            found += rle[-1] == 0 and runs > 1
        assert found

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0), (4,), (2, 2, 4)])
    def test_encode_brush__no_mask(self, shape):
        with pytest.raises(MaskError, match="at least one pixel"):
            encode_brush(np.zeros(shape, dtype=bool))


class TestDecodeBrush:
    @given(masks | smooth_masks)
    def test_decode_brush__of_the_sdk(self, mask):
        rle = brush.mask2rle(mask.astype(np.uint8) * 255)
        np.testing.assert_array_equal(decode_brush(rle, *mask.shape), mask)

    @given(masks)
    def test_decode_brush__sdk_reads_ours(self, mask):
        np.testing.assert_array_equal(sdk_decode(encode_brush(mask), *mask.shape), mask)

    @given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))))
    def test_decode_brush__antialiased_alpha(self, alpha):
        rle = brush.encode_rle(np.repeat(alpha.ravel(), 4))
        np.testing.assert_array_equal(decode_brush(rle, *alpha.shape), alpha > 127)

    @given(arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(4))))
    def test_decode_brush__only_alpha_counts(self, rgba):
        rle = brush.encode_rle(rgba.ravel())
        np.testing.assert_array_equal(decode_brush(rle, *rgba.shape[:2]), rgba[:, :, 3] > 127)

    @settings(max_examples=300)
    @given(streams())
    def test_decode_brush__any_layout_of_lengths(self, stream):
        rle, pixels = stream
        np.testing.assert_array_equal(decode_brush(rle, 1, pixels), sdk_decode(rle, 1, pixels))

    @pytest.mark.parametrize("word_size", [9, 16, 31, 32])
    def test_decode_brush__wider_words(self, word_size):
        rle = write_brush([(True, 0, (255, 4)), (False, 1, [0, 0, 0, 127, 0, 0, 0, 128])], word_size)
        np.testing.assert_array_equal(decode_brush(rle, 3, 1), [[True], [False], [True]])

    def test_decode_brush__words_too_narrow_for_alpha(self):
        with pytest.raises(MaskError, match="words of 7 bits"):
            decode_brush(write_brush([(True, 0, (1, 4))], word_size=7), 1, 1)

    def test_decode_brush__other_size(self):
        rle = encode_brush(np.ones((4, 6), dtype=bool))
        with pytest.raises(MaskError, match=r"holds 96 values, but 6 x 5 pixels take 120.*original_width"):
            decode_brush(rle, 5, 6)

    @pytest.mark.parametrize("keep", [0, 1, 6])
    def test_decode_brush__shorter_than_its_header(self, keep):
        with pytest.raises(MaskError, match=f"{keep} bytes are shorter"):
            decode_brush(encode_brush(np.eye(8, dtype=bool))[:keep], 8, 8)

    @given(masks, st.data())
    def test_decode_brush__truncated(self, mask, data):
        rle = encode_brush(mask)
        keep = data.draw(st.integers(0, len(rle) - 2))  # the last byte may be padding alone
        with pytest.raises(MaskError):
            decode_brush(rle[:keep], *mask.shape)

    @given(st.lists(st.integers(0, 255), max_size=60), st.integers(1, 9))
    def test_decode_brush__garbage_is_a_mask_or_a_mask_error(self, body, pixels):
        body[:1] = [
            0b00111_000 | first & 7 for first in body[:1]
        ]  # words of 8 bits, which the SDK can read too
        rle = list((pixels * 4).to_bytes(4, "big")) + body
        try:
            mask = decode_brush(rle, 1, pixels)
            expected = sdk_decode(rle, 1, pixels)
        except (MaskError, IndexError):  # the SDK stumbles over what follows the last value
            return
        np.testing.assert_array_equal(mask, expected)

    @given(st.lists(st.integers(0, 255), max_size=60), st.integers(1, 9))
    def test_decode_brush__garbage_of_any_word_size(self, body, pixels):
        try:
            mask = decode_brush(list((pixels * 4).to_bytes(4, "big")) + body, 1, pixels)
        except MaskError:
            return
        assert mask.shape == (1, pixels)

    @pytest.mark.parametrize("rle", [None, 7, "rle", [256], [-1], [1.5], ["1"], [[1]]])
    def test_decode_brush__no_list_of_bytes(self, rle):
        with pytest.raises(MaskError, match="list of whole numbers 0 to 255"):
            decode_brush(rle, 1, 1)


class TestCoco:
    @given(masks | smooth_masks)
    def test_decode_coco__of_encode_coco(self, mask):
        rle = encode_coco(mask)
        assert rle["size"] == list(mask.shape)
        assert isinstance(rle["counts"], str)
        np.testing.assert_array_equal(decode_coco(rle), mask)

    def test_encode_coco__by_hand(self):
        # by columns: 1 background, 2 object, 1 background; COCO writes small counts as chr(48 + count)
        assert encode_coco(np.array([[0, 1], [1, 0]], dtype=bool)) == {"size": [2, 2], "counts": "121"}

    @pytest.mark.parametrize(
        "rle",
        [
            {},
            {"size": [2, 2]},
            {"size": [2, 2], "counts": None},
            {"size": [2], "counts": "121"},
            {"size": [2, 3], "counts": "121"},
            {"size": [2, 1], "counts": "121"},
            {"size": [-2, -2], "counts": "121"},
            {"size": [2, 2], "counts": ""},
            {"size": [2, 2], "counts": "5O"},  # runs of 5 and -1
            {"size": [2, 2], "counts": "T" + "P" * 12 + "1"},  # a number of 70 bits, the low 64 of them 4
            {"size": [2, 2], "counts": "12P"},
            {"size": [2, 2], "counts": "12\x00"},
            {"size": [2, 2], "counts": "12é"},
            None,
        ],
    )
    def test_decode_coco__damaged(self, rle):
        with pytest.raises(MaskError, match="COCO RLE"):
            decode_coco(rle)


class TestPolygons:
    def test_polygon_to_mask__pixel_borders(self):
        square = np.array([[0.5, 0.5], [0.5, 3.5], [2.5, 3.5], [2.5, 0.5]])
        expected = np.zeros((4, 5), dtype=bool)
        expected[1:3, 1:4] = True
        np.testing.assert_array_equal(polygon_to_mask([square], 4, 5), expected)

    def test_polygon_to_mask__centres_on_the_border_belong_above_and_left(self):
        square = np.array([[1, 1], [1, 3], [3, 3], [3, 1]], dtype=float)
        expected = np.zeros((5, 5), dtype=bool)
        expected[1:3, 1:3] = True
        np.testing.assert_array_equal(polygon_to_mask([square], 5, 5), expected)

    @given(st.lists(st.tuples(st.integers(-8, 16), st.integers(-8, 16)), min_size=3, max_size=3, unique=True))
    def test_polygon_to_mask__neighbours_share_no_pixel(self, corners):
        ring = np.array(corners, dtype=float)
        opposite = ring[0] + ring[1] - ring[2]
        (row, column), (down, across) = ring[1] - ring[0], ring[2] - ring[0]
        assume(row * across != column * down)
        one = polygon_to_mask([ring], 8, 9)
        other = polygon_to_mask([np.stack([ring[0], ring[1], opposite])], 8, 9)
        assert not (one & other).any()
        both = polygon_to_mask([np.stack([ring[0], ring[2], ring[1], opposite])], 8, 9)
        np.testing.assert_array_equal(one | other, both)

    def test_polygon_to_mask__hole(self):
        outer = np.array([[-0.5, -0.5], [-0.5, 4.5], [4.5, 4.5], [4.5, -0.5]])
        inner = outer / 5 + 1.6  # around the pixel (2, 2)
        expected = np.ones((5, 5), dtype=bool)
        expected[2, 2] = False
        np.testing.assert_array_equal(polygon_to_mask([outer, inner], 5, 5), expected)

    @pytest.mark.parametrize("shift", [(-3, 0), (3, 0), (0, -3), (0, 3), (-100, -100), (1e6, 1e6)])
    def test_polygon_to_mask__partly_outside_is_clipped(self, shift):
        diamond = np.array([[-1.5, 2], [2, 6.5], [5.5, 2], [2, -2.5]]) + shift
        rows, columns = np.mgrid[:5, :5] - np.reshape(shift, (2, 1, 1)) - 2
        np.testing.assert_array_equal(
            polygon_to_mask([diamond], 5, 5), abs(rows) / 3.5 + abs(columns) / 4.5 < 1
        )

    @pytest.mark.parametrize("ring", [[], [[0, 0], [1, 1]], [[0, 0, 0]] * 3, [[0, 0], [0, np.nan], [1, 1]]])
    def test_polygon_to_mask__no_ring(self, ring):
        with pytest.raises(MaskError, match="at least three finite"):
            polygon_to_mask([np.array(ring, dtype=float)], 4, 4)

    def test_polygon_to_mask__no_rings_is_empty(self):
        assert not polygon_to_mask([], 3, 4).any()

    @settings(max_examples=200)
    @given(masks | smooth_masks)
    def test_mask_to_polygons__gives_the_same_pixels_back(self, mask):
        filled = np.zeros_like(mask)
        for rings in mask_to_polygons(mask):
            piece = polygon_to_mask(rings, *mask.shape)
            assert piece.any() and not (piece & filled).any()
            filled |= piece
        np.testing.assert_array_equal(filled, mask)

    def test_mask_to_polygons__object_in_a_hole(self):
        mask = np.ones((7, 7), dtype=bool)
        mask[1:6, 1:6] = False
        mask[3, 3] = True
        polygons = mask_to_polygons(mask)
        assert sorted(len(rings) for rings in polygons) == [1, 2]
        (dot,) = min(polygons, key=len)
        assert sorted(map(tuple, dot)) == [(2.5, 2.5), (2.5, 3.5), (3.5, 2.5), (3.5, 3.5)]

    def test_mask_to_polygons__empty(self):
        assert mask_to_polygons(np.zeros((3, 3), dtype=bool)) == []

    def test_mask_to_polygons__tolerance_trades_corners_for_exactness(self):
        disc = ellipse_to_mask((50, 50), (40, 40), 101, 101)
        disc &= ~ellipse_to_mask((50, 50), (10, 10), 101, 101)
        ((outer, hole),) = mask_to_polygons(disc, tolerance=1)
        ((exact_outer, _),) = mask_to_polygons(disc)
        filled = polygon_to_mask([outer, hole], 101, 101)
        assert len(outer) < len(exact_outer) / 4
        assert (filled & disc).sum() / (filled | disc).sum() > 0.96

    def test_mask_to_polygons__a_dot_survives_any_tolerance(self):
        mask = np.zeros((5, 5), dtype=bool)
        mask[2, 3] = True
        ((ring,),) = mask_to_polygons(mask, tolerance=50)
        np.testing.assert_array_equal(polygon_to_mask([ring], 5, 5), mask)


class TestShapes:
    def test_rectangle_to_mask__upright(self):
        expected = np.zeros((6, 8), dtype=bool)
        expected[1:3, 2:7] = True
        np.testing.assert_array_equal(rectangle_to_mask((0.5, 1.5), (2, 5), 6, 8), expected)

    def test_rectangle_to_mask__quarter_turn_clockwise_about_its_corner(self):
        # what pointed right now points down, what pointed down now points left
        expected = np.zeros((9, 9), dtype=bool)
        expected[2:7, 3:5] = True
        np.testing.assert_array_equal(rectangle_to_mask((1.6, 4.6), (2, 5), 9, 9, rotation=90), expected)

    def test_rectangle_to_mask__turned_area(self):
        mask = rectangle_to_mask((20, 50), (40, 60), 128, 128, rotation=30)
        assert mask.sum() == pytest.approx(2400, rel=0.01)
        assert mask[22, 50] and mask[50, 99] and not mask[22, 60]

    def test_ellipse_to_mask__radii_are_down_and_across(self):
        mask = ellipse_to_mask((5, 8), (2, 6), 11, 17)
        assert mask[:, 8].sum() == 5 and mask[5].sum() == 13
        assert mask.sum() == pytest.approx(np.pi * 12, rel=0.05)

    def test_ellipse_to_mask__quarter_turn(self):
        np.testing.assert_array_equal(
            ellipse_to_mask((8, 8), (2.5, 6.5), 17, 17, rotation=90),
            ellipse_to_mask((8, 8), (6.5, 2.5), 17, 17),
        )

    def test_ellipse_to_mask__turned_clockwise(self):
        mask = ellipse_to_mask((20, 20), (2, 15), 41, 41, rotation=45)
        assert mask[28, 28] and not mask[12, 28]  # the long side falls to the right

    def test_ellipse_to_mask__no_radius(self):
        with pytest.raises(MaskError, match="above 0"):
            ellipse_to_mask((1, 1), (0, 4), 4, 4)


class TestRuns:
    @given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
    def test_runs__every_pixel_is_found_again(self, mask):
        runs = Runs.of(mask)
        np.testing.assert_array_equal(runs.mask(), mask)
        looked_up = [
            [runs.contains(row, col) for col in range(mask.shape[1])] for row in range(mask.shape[0])
        ]
        np.testing.assert_array_equal(looked_up, mask)
