"""Take one picture out of a clip."""

import io

from itemkit.images import UnreadableImage


def middle_frame(encoded: bytes) -> bytes:
    """Return the frame in the middle of a clip as a PNG file.

    The first frame would be unfair: some generators of clips start from a still image, and begin with nearly that.

    Args:
        encoded: the clip's bytes, in any container and codec that FFmpeg knows.

    Raises:
        UnreadableImage: no clip, a broken one, or one without a frame.
    """
    import av

    try:
        with av.open(io.BytesIO(encoded)) as clip:
            number = sum(1 for _ in clip.decode(video=0))  # counted, since containers are often wrong about it
            clip.seek(0)
            for index, frame in enumerate(clip.decode(video=0)):
                if index == number // 2:
                    file = io.BytesIO()
                    frame.to_image().save(file, "PNG")
                    return file.getvalue()
    except (av.FFmpegError, IndexError) as error:  # IndexError: sound without pictures
        raise UnreadableImage(f"no clip that FFmpeg can decode: {error}") from error
    raise UnreadableImage("a clip without frames")
