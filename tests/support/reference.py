"""The network once more: float64 numpy, one token after the other, no tricks.

Written from the description of the published network, section by section, and not from the code
under test. Tokens come as lists with their places, so that a missing one is simply not in the list.
"""

import math
from functools import cache

import numpy as np

from .weights_recipe import fill

WIDTHS = {"tiny": (256, 2), "small": (512, 4)}

Place = tuple[int, int]


@cache
def weights(name: str, shape: tuple[int, ...]):
    return fill(name, shape).astype(np.float64)


def norm(x, groups, weight, bias, eps):
    """Normalise the groups of a vector, each on its own, or of (D, T) over all T."""
    out = np.empty_like(x)
    step = x.shape[0] // groups
    for g in range(groups):
        part = x[g * step : (g + 1) * step]
        out[g * step : (g + 1) * step] = (part - part.mean()) / math.sqrt(part.var() + eps)
    shape = (-1,) + (1,) * (x.ndim - 1)
    return out * weight.reshape(shape) + bias.reshape(shape)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def gelu(x):
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.ravel()]).reshape(
        x.shape
    )


def bucket(a: Place, b: Place) -> int:
    """Relative-position bucket of two tokens of a grid."""
    dist = round(math.hypot(a[0] - b[0], a[1] - b[1]))  # Python rounds half to even
    if dist <= 1.9:
        return 3 + dist
    return 3 + int(min(round(1.9 + math.log(dist / 1.9) / math.log(8) * 1.9), 3.8))


def sincos(column: float, row: float, width: int):
    """2-D encoding: the column's half, then the row's; sines, then cosines."""
    quarter = width // 4
    omega = [10000 ** (-k / quarter) for k in range(quarter)]
    halves = [[f(v * w) for f in (math.sin, math.cos) for w in omega] for v in (column, row)]
    return np.array(halves[0] + halves[1])


class Reference:
    """Sentinel-2 path with the golden weights."""

    def __init__(self, size: str = "tiny", flash_layout: bool = False):
        self.width, self.depth = WIDTHS[size]
        self.heads = self.width // 64
        self.flash = flash_layout

    def w(self, name, *shape):
        return weights(name, shape)

    def linear(self, name, x, outputs):
        return x @ self.w(f"{name}.weight", outputs, x.shape[-1]).T + self.w(
            f"{name}.bias", outputs
        )

    def norm(self, name, x, groups, eps):
        width = x.shape[0]
        return norm(x, groups, self.w(f"{name}.weight", width), self.w(f"{name}.bias", width), eps)

    def layer_norm(self, name, x, eps):
        return np.stack([self.norm(name, token, 1, eps) for token in x])

    def mlp(self, name, x):
        return self.linear(
            f"{name}.fc2", gelu(self.linear(f"{name}.fc1", x, 4 * self.width)), self.width
        )

    def pixel(self, series, days):
        """Time series (T, 10) of one pixel to (D,)."""
        name, d = "projector_s2.patch_embed", self.width
        rows = []
        for x in np.asarray(series, dtype=np.float64):
            for n, outputs in enumerate((d // 8, d // 2, d, 2 * d, d)):
                x = self.linear(f"{name}.inconv.{4 * n}", x, outputs)
                x = np.maximum(self.norm(f"{name}.inconv.{4 * n + 1}", x, 4, 1e-5), 0)
            rows.append(x)
        x = self.norm(f"{name}.in_norm", np.stack(rows, axis=1), 16, 1e-5).T  # (T, D)
        part = d // 16
        for t, day in enumerate(days):
            angle = [day / 367 ** (2 * (k // 2) / part) for k in range(part)]
            x[t] += [math.cos(a) if k % 2 else math.sin(a) for k, a in enumerate(angle)] * 16
        keys = self.linear(f"{name}.attention_heads.fc1_k", x, 128)
        query = self.w(f"{name}.attention_heads.Q", 16, 8)
        pooled = np.empty(d)
        for h in range(16):
            share = softmax(keys[:, 8 * h : 8 * h + 8] @ query[h] / math.sqrt(8))
            pooled[h * part : (h + 1) * part] = share @ x[:, h * part : (h + 1) * part]
        out = np.maximum(
            self.norm(f"{name}.mlp.1", self.linear(f"{name}.mlp.0", pooled, d), 4, 1e-5), 0
        )
        return self.norm(f"{name}.out_norm", out, 16, 1e-5)

    def bias(self, name, query, places):
        """Bias of each pair: tokens are the class token, then those at `places`."""
        table = self.w(f"{name}.rpe_k.lookup_table_weight", 1, 64, 8)[0]
        size = 1 + len(places)
        out = np.empty((size, size))
        for i in range(size):
            for j in range(size):
                k = bucket(places[i - 1], places[j - 1]) if i and j else 7
                out[i, j] = query[i] @ table[:, k]
        return out

    def patch(self, pixels, places, step):
        """Vectors of a patch's pixels (m, D) to its tokens (1 + m, D), the class token first."""
        places_in_metres = [sincos(c * step, r * step, self.width) for r, c in places]
        cls = self.w("spatial_encoder.cls_token", 1, 1, self.width)[0]
        x = np.concatenate([cls, np.asarray(pixels, dtype=np.float64) + places_in_metres])
        for n in range(self.depth):
            name = f"spatial_encoder.predictor_blocks.{n}"
            y = self.layer_norm(f"{name}.norm1", x, 1e-5)
            q, k, v = np.split(self.linear(f"{name}.attn.qkv", y, 3 * self.width), 3, axis=1)
            bias = self.bias(f"{name}.attn", q[:, :64] / 8, places)
            x = x + self.linear(f"{name}.attn.proj", self.attend(q, k, v, bias), self.width)
            x = x + self.mlp(f"{name}.mlp", self.layer_norm(f"{name}.norm2", x, 1e-5))
        return self.layer_norm("spatial_encoder.predictor_norm", x, 1e-5)

    def tile(self, tokens, places, patch_size):
        """Patch tokens (n, D) to (1 + n, D): tile embedding, patch embeddings."""
        d, step = self.width, patch_size / 10
        grid = np.array([sincos(c * step, r * step, d) for r, c in places])
        x = np.concatenate([self.w("cls_token", 1, 1, d)[0], np.asarray(tokens, np.float64) + grid])
        for n in range(self.depth):
            name = f"blocks.{n}"
            y = self.layer_norm(f"{name}.norm1", x, 1e-6)
            q, k, v = np.split(self.linear(f"{name}.attn.qkv", y, 3 * d), 3, axis=1)
            attended = self.across_heads(q, k, v) if self.flash else self.attend(q, k, v, 0)
            x = x + self.linear(f"{name}.attn.proj", attended, d)
            x = x + self.mlp(f"{name}.mlp", self.layer_norm(f"{name}.norm2", x, 1e-6))
        name = f"blocks.{self.depth}"
        y = self.layer_norm(f"{name}.norm1", x, 1e-6)
        query = self.w(f"{name}.attn.q_learned", 1, 1, d)[0] + np.concatenate(
            [np.zeros((1, d)), grid]
        )
        k, v = (self.linear(f"{name}.attn.{w}", y, d) for w in ("wk", "wv"))
        bias = self.bias(f"{name}.attn", query[:, :64], places)
        out = self.linear(f"{name}.attn.proj", self.attend(query, k, v, bias), d)
        return out + self.mlp(f"{name}.mlp", self.layer_norm(f"{name}.norm2", out, 1e-6))

    def attend(self, q, k, v, bias):
        out = np.empty_like(q)
        for h in range(self.heads):
            part = slice(64 * h, 64 * h + 64)
            logits = q[:, part] @ k[:, part].T / 8 + bias
            for i, row in enumerate(logits):
                out[i, part] = softmax(row) @ v[:, part]
        return out

    def across_heads(self, q, k, v):
        out = np.empty_like(q)
        for i in range(len(q)):
            a, b, c = (x[i].reshape(self.heads, 64) for x in (q, k, v))
            out[i] = np.concatenate([softmax(row) @ c for row in a @ b.T / 8])
        return out
