"""Pictures of one kind, drawn from free fonts: pages (text and screenshot-like layouts) and glyphs.

    python -m benchmarks.pictures pages --split train --count 400 --out pages
    python -m benchmarks.pictures glyphs --split held-out --out held-out

The same pictures for the same seed, Pillow and Python. Typefaces of the `held-out` split appear in no training picture.
"""
