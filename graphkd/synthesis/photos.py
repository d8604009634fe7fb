"""Pictures like photographs, made by numpy: landscapes, portraits, buildings, micrographs."""

import numpy as np
from PIL import Image

from graphkd.synthesis.styles import between, chance, pick


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, *, cells: int, octaves: int
) -> np.ndarray:
    """Fractal noise: float32 (H, W), about unit spread, `cells` blobs along the shorter side."""
    field = np.zeros((height, width), np.float32)
    ratio = max(height, width) / min(height, width)
    for octave in range(octaves):
        few, many = cells * 2**octave + 1, int(cells * 2**octave * ratio) + 1
        shape = (few, many) if width >= height else (many, few)
        coarse = Image.fromarray(rng.standard_normal(shape, dtype=np.float32))
        field += np.asarray(coarse.resize((width, height), Image.BICUBIC)) / 1.8**octave
    return field / max(float(field.std()), 1e-6)


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)


def blend(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    return low + (high - low) * np.clip(share, 0, 1)[..., None]


def color_between(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    return (low + (high - low) * rng.random(3)).astype(np.float32)


def landscape(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Sky, clouds and two to four ranges of hills, the near ones darker."""
    y, x = grid(height, width)
    zenith = np.array([0.25, 0.45, 0.75], np.float32) * between(rng, 0.7, 1.2)
    image = blend(zenith, np.array([0.88, 0.9, 0.9], np.float32), y * 1.6)
    clouds = smooth_noise(rng, height, width, cells=3, octaves=4)
    image = blend(image, np.full(3, 0.97, np.float32), (clouds - 0.3) * 0.6 * (y < 0.6))
    ridges = int(rng.integers(2, 5))
    grain = smooth_noise(rng, height, width, cells=12, octaves=3)
    for number in range(ridges):
        knots = rng.standard_normal(int(4 + 3 * number)).astype(np.float32)
        wave = np.interp(x[0], np.linspace(0, 1, len(knots)), knots) * 0.05
        line = wave + 0.42 + 0.45 * number / ridges
        far = np.array([0.45, 0.52, 0.58], np.float32)
        near = np.array([0.16, 0.25, 0.12], np.float32) * between(rng, 0.7, 1.5)
        tone = far + (near - far) * (number + 1) / ridges
        image = np.where((y > line)[..., None], tone + 0.06 * grain[..., None], image)
    return image


def portrait(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A head and shoulders before a soft background."""
    y, x = grid(height, width)
    image = blend(color_between(rng, 0.2, 0.8), color_between(rng, 0.3, 0.9), y * 0.7 + 0.3 * x)
    middle = 0.5 + between(rng, -0.06, 0.06)
    skin = np.array([0.85, 0.66, 0.54], np.float32) * between(rng, 0.55, 1.1)
    aspect = width / height
    body = ((x - middle) * aspect / 0.42) ** 2 + ((y - 1.1) / 0.42) ** 2 < 1
    image = np.where(
        body[..., None], color_between(rng, 0.05, 0.6) * (1 - 0.3 * x[..., None]), image
    )
    neck = (np.abs(x - middle) * aspect < 0.085) & (y > 0.55) & (y < 0.76)
    image = np.where(neck[..., None], skin * 0.85, image)
    hair = ((x - middle) * aspect / 0.215) ** 2 + ((y - 0.37) / 0.27) ** 2 < 1
    image = np.where(hair[..., None], color_between(rng, 0.05, 0.4), image)
    face = ((x - middle) * aspect / 0.165) ** 2 + ((y - 0.44) / 0.225) ** 2 < 1
    light = 1.1 - 0.6 * np.clip((x - middle) * aspect / 0.2 + 0.3, 0, 1)
    image = np.where(face[..., None], skin * light[..., None], image)
    for side in (-1, 1):
        eye = (((x - middle) * aspect - side * 0.07) / 0.024) ** 2 + ((y - 0.42) / 0.012) ** 2 < 1
        image = np.where(eye[..., None], np.float32(0.12), image)
    mouth = ((x - middle) * aspect / 0.055) ** 2 + ((y - 0.56) / 0.012) ** 2 < 1
    return np.where(mouth[..., None], np.array([0.55, 0.25, 0.25], np.float32), image)


def buildings(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """House fronts with rows of windows under a sky, a street below."""
    y, x = grid(height, width)
    image = blend(color_between(rng, 0.5, 0.8), color_between(rng, 0.75, 0.95), y)
    left = 0.0
    while left < 1.0:
        wide, top = between(rng, 0.12, 0.34), between(rng, 0.08, 0.5)
        tone = color_between(rng, 0.25, 0.8)
        front = (x >= left) & (x < left + wide) & (y > top)
        image = np.where(front[..., None], tone * (1.1 - 0.4 * y[..., None]), image)
        pitch_x, pitch_y = wide / int(rng.integers(2, 6)), between(rng, 0.07, 0.14)
        window = front & (((x - left) / pitch_x) % 1 > 0.35) & (((y - top) / pitch_y) % 1 > 0.45)
        image = np.where(window[..., None], tone * between(rng, 0.2, 0.5), image)
        left += wide
    street = y > between(rng, 0.82, 0.93)
    image = np.where(street[..., None], np.float32(between(rng, 0.3, 0.55)), image)
    return image + 0.025 * smooth_noise(rng, height, width, cells=20, octaves=2)[..., None]


def micrograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Round cells with darker centres on a stained or a dark ground."""
    dark = chance(rng, 0.4)
    base = color_between(rng, 0.02, 0.15) if dark else color_between(rng, 0.75, 0.95)
    texture = smooth_noise(rng, height, width, cells=8, octaves=3)
    image = base + 0.05 * texture[..., None]
    y, x = grid(height, width)
    x = x * (width / height)
    tone = color_between(rng, 0.3, 0.9) if dark else color_between(rng, 0.4, 0.8)
    core = color_between(rng, 0.6, 1.0) if dark else color_between(rng, 0.1, 0.4)
    for _ in range(int(rng.integers(8, 22))):
        cx, cy, radius = rng.random() * width / height, rng.random(), between(rng, 0.03, 0.11)
        stretch = between(rng, 0.7, 1.4)
        away = ((x - cx) / stretch) ** 2 + (y - cy) ** 2 + 0.0006 * texture
        image = blend(image, tone, 0.75 * (1 - away / radius**2) * 3)
        image = blend(image, core, (0.16 - away / radius**2) * 8)
    return image


def surface(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A relief lit from one side (terrain, stone, metal) in one or two tones."""
    field = smooth_noise(rng, height, width, cells=int(rng.integers(2, 7)), octaves=5)
    dy, dx = np.gradient(field)
    angle = between(rng, 0, 6.28)
    light = 0.5 + 3.0 * (dx * np.cos(angle) + dy * np.sin(angle))
    low, high = color_between(rng, 0.05, 0.4), color_between(rng, 0.6, 0.95)
    return blend(low, high, 0.5 * light + 0.25 + 0.12 * field)


def still_life(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Shaded round objects with shadows on a table before a wall."""
    y, x = grid(height, width)
    aspect = width / height
    horizon = between(rng, 0.45, 0.65)
    wall = blend(
        color_between(rng, 0.55, 0.85),
        color_between(rng, 0.7, 0.95),
        1 - np.hypot(x - 0.4, y - 0.3),
    )
    table = color_between(rng, 0.3, 0.65) * (0.7 + 0.5 * y[..., None])
    image = np.where((y > horizon)[..., None], table, wall)
    x = x * aspect
    for number in range(int(rng.integers(2, 6))):
        radius = between(rng, 0.08, 0.2)
        cx, cy = between(rng, 0.1, 0.9) * aspect, horizon + 0.05 + 0.06 * number - 0.3 * radius
        across = ((x - cx - 0.6 * radius) / (1.3 * radius)) ** 2
        shadow = across + ((y - cy - 0.85 * radius) / (0.3 * radius)) ** 2
        image = image * (1 - 0.5 * np.clip(1.2 - shadow, 0, 1))[..., None]
        tone = color_between(rng, 0.15, 0.9)
        if chance(rng, 0.5):
            inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
            shade = 1.15 - np.hypot(x - cx + 0.35 * radius, y - cy + 0.35 * radius) / radius * 0.75
        else:
            inside = (np.abs(x - cx) < 0.6 * radius) & (y > cy - 1.6 * radius) & (y < cy + radius)
            shade = 1.1 - 0.8 * np.clip((x - cx) / (0.6 * radius) * 0.5 + 0.5, 0, 1) ** 1.5
        image = np.where(inside[..., None], tone * shade[..., None], image)
    return image


def photograph(rng: np.random.Generator, *, aspect: float) -> np.ndarray:
    """One made-up photograph.

    Args:
        rng: the page's generator.
        aspect: width over height.

    Returns:
        uint8 (H, W, 3), about 48,000 pixels, never white, so that it has an edge on paper.
    """
    area = 48_000
    height = max(24, int((area / aspect) ** 0.5))
    width = max(24, int(height * aspect))
    scene = pick(rng, landscape, portrait, buildings, micrograph, surface, still_life)
    image = scene(rng, height, width)
    image = image + rng.standard_normal((height, width, 1), dtype=np.float32) * 0.02
    if chance(rng, 0.45):
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
        if chance(rng, 0.3):
            image = image * np.array([1.0, 0.93, 0.8], np.float32)
    image = 0.5 + (image - 0.5) * between(rng, 0.8, 1.25)
    return (np.clip(image, 0.02, 0.9) * 255).astype(np.uint8)
