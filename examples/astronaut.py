"""Write scikit-image's photograph of an astronaut to photo.png."""

import skimage.data
from PIL import Image

Image.fromarray(skimage.data.astronaut()).save("photo.png")
