"""What things look like: colours, paints, and every noun as a few primitives."""

import math

import numpy as np

COLOURS = {
    "red": (214, 40, 40),
    "orange": (242, 133, 32),
    "yellow": (243, 210, 50),
    "green": (46, 160, 67),
    "blue": (45, 90, 215),
    "purple": (140, 60, 180),
    "pink": (244, 140, 180),
    "brown": (115, 70, 38),
    "white": (243, 243, 243),
    "black": (36, 36, 40),
}
FIXED = {
    "dark": (45, 42, 45),
    "cream": (240, 226, 196),
    "glass": (205, 228, 240),
    "wood": (110, 72, 42),
    "leaf": (52, 120, 52),
    "flame": (250, 160, 40),
    "paper": (250, 250, 245),
}  # parts with a colour of their own


STAR = [
    (math.sin(i * math.pi / 5) * (1, 0.42)[i % 2], -math.cos(i * math.pi / 5) * (1, 0.42)[i % 2]) for i in range(10)
]
PETALS = [
    (
        "ellipse",
        "main",
        (0.42 * math.cos(a) - 0.3, 0.42 * math.sin(a) - 0.62, 0.42 * math.cos(a) + 0.3, 0.42 * math.sin(a) - 0.02),
    )
    for a in np.arange(6) * math.pi / 3
]

# Every noun is a list of (primitive, paint, geometry) in a square from -1 to 1, drawn in order.
# "main" is the object's colour, "shade" and "light" are that colour darker and lighter; the rest are FIXED paints.
SHAPES = {
    "car": [
        (
            "polygon",
            "main",
            [(-1, 0.02), (-0.62, -0.06), (-0.4, -0.55), (0.38, -0.55), (0.66, -0.04), (1, 0.06), (1, 0.4), (-1, 0.4)],
        ),
        ("polygon", "glass", [(-0.33, -0.43), (-0.04, -0.43), (-0.04, -0.06), (-0.5, -0.06)]),
        ("polygon", "glass", [(0.06, -0.43), (0.31, -0.43), (0.5, -0.06), (0.06, -0.06)]),
        ("ellipse", "dark", (-0.76, 0.12, -0.24, 0.64)),
        ("ellipse", "dark", (0.24, 0.12, 0.76, 0.64)),
    ],
    "tree": [
        ("rectangle", "wood", (-0.14, 0.2, 0.14, 1)),
        ("ellipse", "main", (-0.8, -0.45, 0.1, 0.42)),
        ("ellipse", "main", (-0.1, -0.45, 0.8, 0.42)),
        ("ellipse", "light", (-0.5, -1, 0.5, 0.02)),
    ],
    "house": [
        ("rectangle", "main", (-0.78, -0.15, 0.78, 0.9)),
        ("polygon", "shade", [(-1, -0.12), (0, -1), (1, -0.12)]),
        ("rectangle", "dark", (-0.5, 0.25, -0.1, 0.9)),
        ("rectangle", "glass", (0.18, 0.15, 0.56, 0.5)),
    ],
    "boat": [
        ("polygon", "main", [(-1, 0.32), (1, 0.32), (0.62, 0.9), (-0.62, 0.9)]),
        ("rectangle", "wood", (-0.1, -1, 0, 0.32)),
        ("polygon", "paper", [(0.06, -0.95), (0.78, 0.2), (0.06, 0.2)]),
    ],
    "fish": [
        ("polygon", "shade", [(0.35, 0), (1, -0.55), (0.86, 0), (1, 0.55)]),
        ("polygon", "shade", [(-0.4, -0.3), (0.1, -0.75), (0.2, -0.3)]),
        ("ellipse", "main", (-1, -0.5, 0.6, 0.5)),
        ("ellipse", "paper", (-0.8, -0.24, -0.5, 0.06)),
        ("ellipse", "dark", (-0.73, -0.16, -0.58, -0.01)),
    ],
    "cup": [
        ("arc", "main", (0.1, -0.45, 0.95, 0.4), -100, 100, 0.2),
        ("polygon", "main", [(-0.8, -0.7), (0.5, -0.7), (0.36, 0.85), (-0.66, 0.85)]),
        ("ellipse", "shade", (-0.8, -0.88, 0.5, -0.52)),
    ],
    "kite": [
        ("line", "dark", [(0, 0.55), (0.22, 0.72), (-0.06, 0.84), (0.16, 1)], 0.07),
        ("polygon", "main", [(0, -1), (0.62, -0.3), (0, 0.6), (-0.62, -0.3)]),
        ("line", "paper", [(0, -1), (0, 0.6)], 0.06),
        ("line", "paper", [(-0.62, -0.3), (0.62, -0.3)], 0.06),
    ],
    "flower": [
        ("rectangle", "leaf", (-0.07, 0, 0.07, 1)),
        ("ellipse", "leaf", (0.03, 0.45, 0.5, 0.72)),
        *PETALS,
        ("ellipse", "flame", (-0.22, -0.54, 0.22, -0.1)),
    ],
    "ball": [
        ("ellipse", "main", (-0.85, -0.85, 0.85, 0.85)),
        ("arc", "shade", (-0.5, -0.85, 1.4, 0.85), 120, 240, 0.1),
        ("ellipse", "paper", (-0.5, -0.55, -0.18, -0.25)),
    ],
    "star": [("polygon", "main", STAR)],
    "umbrella": [
        ("rectangle", "dark", (-0.06, -0.1, 0.06, 0.82)),
        ("arc", "dark", (-0.06, 0.62, 0.4, 1), 0, 180, 0.1),
        ("pieslice", "main", (-1, -0.9, 1, 0.9), 180, 360),
        ("pieslice", "shade", (-0.42, -0.9, 0.42, 0.9), 180, 360),
    ],
    "mushroom": [
        ("rectangle", "cream", (-0.32, -0.1, 0.32, 0.95)),
        ("pieslice", "main", (-0.95, -0.95, 0.95, 1), 180, 360),
        ("ellipse", "paper", (-0.6, -0.42, -0.26, -0.08)),
        ("ellipse", "paper", (-0.14, -0.82, 0.24, -0.44)),
        ("ellipse", "paper", (0.32, -0.4, 0.62, -0.1)),
    ],
    "bird": [
        ("line", "flame", [(-0.1, 0.5), (-0.1, 0.95)], 0.09),
        ("line", "flame", [(0.15, 0.5), (0.15, 0.95)], 0.09),
        ("polygon", "shade", [(-0.5, 0.05), (-1, -0.2), (-1, 0.25)]),
        ("ellipse", "main", (-0.72, -0.3, 0.55, 0.65)),
        ("ellipse", "main", (0.12, -0.85, 0.74, -0.22)),
        ("polygon", "flame", [(0.7, -0.62), (1, -0.5), (0.7, -0.4)]),
        ("ellipse", "shade", (-0.5, -0.08, 0.18, 0.38)),
        ("ellipse", "dark", (0.42, -0.66, 0.56, -0.52)),
    ],
    "rocket": [
        ("polygon", "flame", [(-0.24, 0.6), (0.24, 0.6), (0, 1)]),
        ("polygon", "shade", [(-0.3, 0.1), (-0.72, 0.7), (-0.25, 0.62)]),
        ("polygon", "shade", [(0.3, 0.1), (0.72, 0.7), (0.25, 0.62)]),
        (
            "polygon",
            "main",
            [(0, -1), (0.3, -0.5), (0.36, 0.1), (0.26, 0.64), (-0.26, 0.64), (-0.36, 0.1), (-0.3, -0.5)],
        ),
        ("ellipse", "glass", (-0.17, -0.42, 0.17, -0.08)),
    ],
    "chair": [
        ("rectangle", "main", (-0.62, -1, -0.38, 1)),
        ("rectangle", "main", (0.4, 0.2, 0.62, 1)),
        ("rectangle", "main", (-0.62, -0.02, 0.72, 0.26)),
        ("rectangle", "shade", (-0.62, -1, -0.2, -0.72)),
        ("rectangle", "shade", (-0.1, 0.26, 0.1, 0.9)),
    ],
    "cat": [
        ("arc", "main", (0.1, 0.1, 0.95, 0.95), -80, 100, 0.16),
        ("ellipse", "main", (-0.62, -0.12, 0.5, 1)),
        ("polygon", "main", [(-0.62, -1), (-0.1, -0.62), (-0.55, -0.3)]),
        ("polygon", "main", [(0.5, -1), (0, -0.62), (0.45, -0.3)]),
        ("ellipse", "light", (-0.6, -0.78, 0.48, 0.12)),
        ("ellipse", "leaf", (-0.36, -0.5, -0.14, -0.24)),
        ("ellipse", "leaf", (0.04, -0.5, 0.26, -0.24)),
        ("polygon", "dark", [(-0.14, -0.2), (0.04, -0.2), (-0.05, -0.08)]),
    ],
}
