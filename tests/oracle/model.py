"""MEGABYTE in PyTorch: the one Python definition of the model, its loss and its optimizer.

Written from the equations of the paper (Yu et al., "MEGABYTE: Predicting Million-byte Sequences
with Multiscale Transformers", arXiv 2305.07185, section 2 and appendix A.1), not from the C code:
it is the outside oracle that the C code is held against, and the twin that its speed is compared
with. Plain on purpose. docs/model-format.md says the same in words.

    B  sequences in a batch          V    256, the byte values
    T  bytes in a sequence           D    width of the global model
    P  bytes in a patch              D_G  D / P, width of a byte in the global model
    K  T / P, patches                E    width of the local model

Parameters carry the names of model.safetensors. Settings are a flat dictionary with the keys of
config.json: patch_size seq_len global.dim global.layers global.heads local.dim local.layers
local.heads dropout, and those of the variations and baselines, which may be missing: model
cross_patch conv rope tied.
"""

import contextlib
import math

import torch
import torch.nn.functional as F
from torch import nn

V = 256


class Norm(nn.Module):
    """Layer normalisation over the last dimension, eps 1e-5."""

    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return F.layer_norm(x, x.shape[-1:], self.gain, self.bias, eps=1e-5)


def explicit_attention(q, k, v, dropout, hidden=None):
    """softmax(q k^T / sqrt(d)) v, with the scores written out; dropout is on the weights.

    hidden: which keys a query does not see, (queries, keys); None: those behind its own place.
    """
    queries, keys = q.shape[-2], k.shape[-2]
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if hidden is None:
        hidden = torch.ones(queries, keys, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return F.dropout(weights, dropout) @ v


def fused_attention(q, k, v, dropout, hidden=None):
    """The same through PyTorch 2's own kernel."""
    seen = None if hidden is None else ~hidden
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, dropout_p=dropout, is_causal=hidden is None
    )


def rotate(x):
    """Rotary positions: columns i and i + d/2 of place t turn by t / 10000^(2 i / d)."""
    length, width = x.shape[-2:]
    half = width // 2
    rate = 10000.0 ** (-torch.arange(half, dtype=x.dtype, device=x.device) * 2 / width)
    angle = torch.arange(length, dtype=x.dtype, device=x.device)[:, None] * rate
    first, second = x[..., :half], x[..., half:]
    return torch.cat(
        [first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], -1
    )


ATTENTION = {"explicit": explicit_attention}
if hasattr(F, "scaled_dot_product_attention"):
    ATTENTION["fused"] = fused_attention


class Attention(nn.Module):
    def __init__(self, width, heads, dropout, attention, rope):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.rope = rope
        self.attend = ATTENTION[attention]
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, hidden):
        batch, length, width = x.shape
        # The rows of qkv are q, k, v; inside each, head after head.
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, width / heads)
        if self.rope:
            q, k = rotate(q), rotate(k)
        mixed = self.attend(q, k, v, self.dropout if self.training else 0.0, hidden)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.down(F.relu(self.up(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width, heads, dropout, attention, rope=False):
        super().__init__()
        self.dropout = dropout
        self.attention_norm = Norm(width)
        self.attention = Attention(width, heads, dropout, attention, rope)
        self.feed_forward_norm = Norm(width)
        self.feed_forward = FeedForward(width)

    def forward(self, x, hidden=None):
        mixed = self.attention(self.attention_norm(x), hidden)
        x = x + F.dropout(mixed, self.dropout, self.training)
        mixed = self.feed_forward(self.feed_forward_norm(x))
        return x + F.dropout(mixed, self.dropout, self.training)


def blocks(settings, scale, attention, rope=False):
    """The layers of one of the two transformers; scale is "global" or "local"."""
    width, heads = settings[scale + ".dim"], settings[scale + ".heads"]
    if width % heads:
        raise ValueError(f"{scale}.dim {width} is not a multiple of {scale}.heads {heads}")
    dropout = settings.get("dropout", 0.0)
    return nn.ModuleList(
        Block(width, heads, dropout, attention, rope) for _ in range(settings[scale + ".layers"])
    )


class Global(nn.Module):
    """Bytes (B, T) to a vector for each byte to come (B, T, D_G); patches see earlier patches."""

    def __init__(self, settings, attention):
        super().__init__()
        width, length, patch = settings["global.dim"], settings["seq_len"], settings["patch_size"]
        if width % patch:
            raise ValueError(f"global.dim {width} is not a multiple of patch_size {patch}")
        self.embedding = nn.Parameter(torch.empty(V, width // patch))
        self.position = nn.Parameter(torch.empty(length, width // patch))
        self.pad = nn.Parameter(torch.empty(patch, width // patch))
        self.conv = nn.ModuleList(
            nn.Linear(taps * width // patch, width // patch)
            for taps in ((3, 5, 7) if settings.get("conv") else ())
        )
        self.blocks = blocks(settings, "global", attention, bool(settings.get("rope")))
        self.norm = Norm(width)

    def forward(self, x):
        batch, length = x.shape
        patch, byte_width = self.pad.shape
        h = F.embedding(x, self.embedding) + self.position[:length]
        for conv in self.conv:
            taps = conv.in_features // byte_width
            padded = F.pad(h, (0, 0, taps - 1, 0))
            # The byte taps - 1 places before comes first, the byte itself last.
            near = torch.cat([padded[:, j : j + length] for j in range(taps)], dim=-1)
            h = h + F.relu(conv(near))
        # A patch is its bytes' vectors one after another.
        h = h.reshape(batch, length // patch, patch * byte_width)
        # Slot 0 takes the pad, slot k the patch before: what is to be predicted is never seen.
        pad = self.pad.reshape(1, 1, -1).expand(batch, 1, -1)
        h = torch.cat([pad, h[:, :-1]], dim=1)
        for block in self.blocks:
            h = block(h)
        return self.norm(h).reshape(batch, length, byte_width)


class Local(nn.Module):
    """Bytes (B, T) and the global vectors (B, T, D_G), or None, to vectors (B, T, E).

    Each patch by itself, or with cross_patch = r the last r places of the patch before it in sight.
    """

    def __init__(self, settings, attention):
        super().__init__()
        width, patch = settings["local.dim"], settings["patch_size"]
        if settings.get("model", "megabyte") == "megabyte":
            self.projection = nn.Linear(settings["global.dim"] // patch, width, bias=False)
        self.embedding = nn.Parameter(torch.empty(V, width))
        self.position = nn.Parameter(torch.empty(patch, width))
        self.pad = nn.Parameter(torch.empty(1, width))
        self.reach = settings.get("cross_patch", 0)
        self.blocks = blocks(settings, "local", attention, self.reach > 0)
        self.norm = Norm(width)

    def hidden(self, length):
        """Which places of a sequence a place does not see, with cross_patch."""
        patch = self.position.shape[0]
        place = torch.arange(length, device=self.position.device)
        first = place // patch * patch - self.reach
        return (place[None, :] > place[:, None]) | (place[None, :] < first[:, None])

    def forward(self, x, context):
        batch, length = x.shape
        patch, width = self.position.shape
        # The bytes of a patch, later by one: the first place takes the pad.
        h = F.embedding(x.reshape(-1, patch)[:, :-1], self.embedding)
        pad = self.pad.expand(h.shape[0], 1, -1)
        h = torch.cat([pad, h], dim=1) + self.position
        if context is not None:
            h = h + self.projection(context).reshape(-1, patch, width)
        hidden = None
        if self.reach:
            h, hidden = h.reshape(batch, length, width), self.hidden(length)
        for block in self.blocks:
            h = block(h, hidden)
        return self.norm(h).reshape(batch, length, width)


class Perceiver(nn.Module):
    """PerceiverAR: bytes (B, T) to vectors (B, P, E) of the places begin ... begin + P - 1.

    They look once at all bytes before them, and then at each other.
    """

    def __init__(self, settings, attention):
        super().__init__()
        width, self.latents = settings["local.dim"], settings["patch_size"]
        self.heads, self.dropout = settings["local.heads"], settings.get("dropout", 0.0)
        self.attend = ATTENTION[attention]
        self.embedding = nn.Parameter(torch.empty(V, width))
        self.position = nn.Parameter(torch.empty(settings["seq_len"], width))
        self.pad = nn.Parameter(torch.empty(1, width))
        self.latent_norm = Norm(width)
        self.span_norm = Norm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward_norm = Norm(width)
        self.feed_forward = FeedForward(width)
        self.blocks = blocks(settings, "local", attention)
        self.norm = Norm(width)

    def split(self, x):
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def look(self, h, begin):
        latents = h[:, begin : begin + self.latents]
        q = self.split(self.query(self.latent_norm(latents)))
        k, v = (self.split(x) for x in self.key_value(self.span_norm(h)).chunk(2, -1))
        place = torch.arange(h.shape[1], device=h.device)
        hidden = place[None, :] > place[begin : begin + self.latents, None]
        mixed = self.attend(q, k, v, self.dropout if self.training else 0.0, hidden)
        mixed = self.out(mixed.transpose(1, 2).reshape(latents.shape))
        x = latents + F.dropout(mixed, self.dropout, self.training)
        mixed = self.feed_forward(self.feed_forward_norm(x))
        return x + F.dropout(mixed, self.dropout, self.training)

    def forward(self, x, begin):
        batch, length = x.shape
        h = F.embedding(x[:, :-1], self.embedding)
        h = torch.cat([self.pad.expand(batch, 1, -1), h], dim=1) + self.position[:length]
        h = self.look(h, begin)
        for block in self.blocks:
            h = block(h)
        return self.norm(h)


class Megabyte(nn.Module):
    def __init__(self, settings, attention="explicit"):
        super().__init__()
        self.kind = settings.get("model", "megabyte")
        patch, length = settings["patch_size"], settings["seq_len"]
        if self.kind != "perceiver" and length % patch:
            raise ValueError("seq_len is not a multiple of patch_size")
        if self.kind in ("megabyte", "global"):
            self.add_module("global", Global(settings, attention))  # a word of Python
        if self.kind in ("megabyte", "local"):
            self.add_module("local", Local(settings, attention))
        if self.kind == "perceiver":
            self.add_module("perceiver", Perceiver(settings, attention))
        last = "local" if self.kind == "megabyte" else self.kind
        if settings.get("tied", 1):
            self.tied_to = last
        else:
            self.tied_to = None
            self.head = nn.Linear(getattr(self, last).embedding.shape[1], V, bias=False)

    def forward(self, x, begin=0):
        """x: bytes as int64 (B, T), T a multiple of P and at most seq_len. Logits (B, T, V); of a
        PerceiverAR (B, P, V), of the places from begin on.
        """
        if self.kind == "perceiver":
            h = self.perceiver(x, begin)
        elif self.kind == "global":
            h = getattr(self, "global")(x)
        else:
            h = self.local(x, getattr(self, "global")(x) if self.kind == "megabyte" else None)
        head = getattr(self, self.tied_to).embedding if self.tied_to else self.head.weight
        return F.linear(h, head)


def loss(model, x, begin=0):
    """Mean negative log-likelihood of all bytes of x, in nats; divide by ln 2 for bits. Of a
    PerceiverAR: of the P bytes from begin on.
    """
    logits = model(x, begin)
    x = x[:, begin : begin + logits.shape[1]]
    logits = logits.reshape(-1, V)
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    return F.cross_entropy(logits, x.reshape(-1))


def initialise(model, std=0.006):
    """The paper's: normal, cut at two std; the outputs of both residual branches by 1/sqrt(2 L)."""
    for name, parameter in model.named_parameters():
        if name.endswith(".gain"):
            nn.init.ones_(parameter)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
        else:
            own = std
            if name.endswith(("attention.out.weight", "feed_forward.down.weight")):
                layers = len(getattr(model, name.split(".")[0]).blocks)
                own = std / math.sqrt(2 * layers)
            nn.init.trunc_normal_(parameter, std=own, a=-2 * own, b=2 * own)


def optimizer(model, lr, decay=0.1, **options):
    """AdamW; everything with two or more dimensions decays, biases and norms do not."""
    wide = [p for p in model.parameters() if p.dim() >= 2]
    flat = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": wide, "weight_decay": decay}, {"params": flat, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-8, **options)


def learning_rate(step, lr, warmup, steps):
    """Of step 1 .. steps: a straight line up to lr at step warmup, then one down towards 0.

    Step warmup + 1 still has the full lr, and step `steps` a last small one.
    """
    if step <= warmup:
        return lr * step / warmup
    return lr * (1 - (step - 1 - warmup) / (steps - warmup))


def train_step(model, adam, x, lr, mixed=contextlib.nullcontext(), begin=0):
    """One step at this learning rate; returns the loss and the gradient's norm before the clip.

    mixed is the context of the forward pass: torch.autocast(...) for mixed precision.
    """
    for group in adam.param_groups:
        group["lr"] = lr
    adam.zero_grad(set_to_none=True)
    with mixed:
        value = loss(model, x, begin)
    value.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    return value.detach(), norm


def flops_per_byte(settings):
    """Of the forward pass: two for each multiply-add of every matrix product, attention in full."""
    patch, length = settings["patch_size"], settings["seq_len"]
    width, layers = settings["global.dim"], settings["global.layers"]
    local_width, local_layers = settings["local.dim"], settings["local.layers"]
    patches = length // patch
    total = layers * (24 * width**2 + 4 * patches * width) / patch
    total += local_layers * (24 * local_width**2 + 4 * patch * local_width)
    total += 2 * (width // patch) * local_width + 2 * local_width * V
    return total
