"""Images of every mode, and the colour that each is."""

import numpy as np
from PIL import Image

from tests.training.pictures import encode


def plain(mode: str, colour) -> Image.Image:
    return Image.new(mode, (10, 10), colour)


def palette(transparent: bool) -> tuple[Image.Image, dict]:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([200, 100, 50] + [0] * 765)
    return image, {"transparency": bytes([0] * 256)} if transparent else {}


SIXTEEN = Image.fromarray(np.full((10, 10), 200 * 257, dtype=np.uint16))
CASES = {
    "rgb": (encode(plain("RGB", (200, 100, 50))), (200, 100, 50)),
    "grey": (encode(plain("L", 90)), (90, 90, 90)),
    "black and white": (encode(plain("1", 1)), (255, 255, 255)),
    "palette": (encode(palette(False)[0]), (200, 100, 50)),
    "palette, transparent": (encode(palette(True)[0], **palette(True)[1]), (255, 255, 255)),
    "rgba, opaque": (encode(plain("RGBA", (200, 100, 50, 255))), (200, 100, 50)),
    "rgba, transparent": (encode(plain("RGBA", (200, 100, 50, 0))), (255, 255, 255)),
    # half of 100 over white: 100 * 128/255 + 255 * 127/255 = 177
    "grey with alpha": (encode(plain("LA", (100, 128))), (177, 177, 177)),
    # cyan, magenta, yellow, black of 0 to 255: red is 255 - 55
    "cmyk": (encode(plain("CMYK", (55, 155, 205, 0)), "TIFF"), (200, 100, 50)),
    # 200 * 257 of 65535 is 200 of 255
    "16 bit": (encode(SIXTEEN), (200, 200, 200)),
    "16 bit as 32": (encode(SIXTEEN.convert("I"), "TIFF"), (200, 200, 200)),
    "one pixel": (encode(Image.new("RGB", (1, 1), (200, 100, 50))), (200, 100, 50)),
    "one pixel, palette": (encode(palette(False)[0].crop((0, 0, 1, 1))), (200, 100, 50)),
}
