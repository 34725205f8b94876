"""Thumbnails: {"image": base64, "width": N} becomes {"width", "height", "jpeg": base64}."""

import base64
import io

import gristmill
from PIL import Image, ImageOps

MAX_HEIGHT = 4000


@gristmill.initializer
def load():
    Image.init()  # every format that Pillow knows, once for each process
    Image.MAX_IMAGE_PIXELS = 50_000_000  # an image of more than twice as many is refused


@gristmill.function
def thumbnail(task):
    try:
        image = Image.open(io.BytesIO(base64.b64decode(task["image"], validate=True)))
        image = ImageOps.exif_transpose(image).convert("RGB")
    except (ValueError, OSError, Image.DecompressionBombError) as error:
        raise gristmill.Permanent(f"no image: {error}") from None  # another attempt would see the same
    image.thumbnail((task["width"], MAX_HEIGHT))
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=85)
    return {"width": image.width, "height": image.height, "jpeg": base64.b64encode(jpeg.getvalue()).decode()}


if __name__ == "__main__":
    gristmill.run()
