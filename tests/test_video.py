import io

import av
import numpy as np
import pytest

from itemkit.data import decode_image
from itemkit.images import UnreadableImage
from itemkit.video import middle_frame


def make_clip(frames: int, container: str = "mp4", codec: str = "libx264") -> bytes:
    """A clip whose frame number n is a grey of 20 n."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as clip:
        stream = clip.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for number in range(frames):
            grey = np.full((32, 48, 3), 20 * number, np.uint8)
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        clip.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize("frames, middle", [(1, 0), (2, 1), (9, 4), (12, 6)])
@pytest.mark.parametrize("container, codec", [("mp4", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")])
def test_the_middle_frame_is_taken(frames, middle, container, codec):
    picture = decode_image(middle_frame(make_clip(frames, container, codec)))
    assert picture.size == (48, 32)
    assert abs(np.asarray(picture).mean() - 20 * middle) < 5  # what the codecs change


def test_the_same_clip_gives_the_same_bytes():
    clip = make_clip(5)
    assert middle_frame(clip) == middle_frame(clip)


@pytest.mark.parametrize("broken", [b"", b"no clip at all", make_clip(5)[:300]])
def test_broken_bytes_are_refused(broken):
    with pytest.raises(UnreadableImage, match="no clip that FFmpeg can decode"):
        middle_frame(broken)
