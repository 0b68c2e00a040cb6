"""How much memory a fine-tuning takes at its highest, before anything is loaded. Torch-free.

    weights      linear ones in 4 bytes, 2 in bf16, 1 as int8, 0.52 as NF4 (Dettmers et al., arXiv 2305.14314, section
                 3); all others in the floating point of the weights, in 4 bytes where the linear ones are quantised
    adapter      rank (inputs + outputs) for each linear module (Hu et al., 2106.09685, section 4.1), each in 4 bytes,
                 with a gradient in 4 and AdamW's two moments in 8, or in 2 as 8 bit (Dettmers et al., 2110.02861)
    activations  of P + B S tokens: the shared prefix once, and B documents with their questions. What a layer keeps
                 for the backward pass, counted in the saved tensors of transformers' Llama: of hidden size 5 (two
                 residuals, two norms, the attention's output), of the queries' width 2, of the feed-forward width 4 (2
                 where it has no gate), and the rank for each module; in lower precision the residuals once more, in 4
                 bytes. Keys and values of P + S tokens, expanded to all heads, for each document. (The sum over parts
                 is Korthikanti et al.'s, 2205.05198, section 4.1, for LoRA and without attention scores.) Dropout
                 keeps each module's input once more, and what was dropped. Recomputed, only a layer's input is kept
                 and one layer in full.
    logits       12 bytes for each label of the vocabulary at each place where a token is learned: as they are, in
                 fp32, and their gradient

An allocator holds more than is asked of it. On a CPU, glibc's keeps the holes between tensors that stay: measured over
random Llamas of 2 to 14 layers (tests/unit/trainer/test_memory_estimate.py keeps one of them) 1.6 to 2.2 times the
activations without recomputing, and with it 0.85 of those that are forgotten. On a GPU, torch's is taken to hold 1.2
times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from trainer.model_shape import ModelShape
from trainer.recipe import LoraRecipe, Optimizer, Precision, Quantization

CPU_HOLDS, CPU_FORGETS, GPU_HOLDS = 1.9, 0.85, 1.2
CPU_BASE, GPU_BASE = 100_000_000, 600_000_000  # bytes: libraries' own; a CUDA context
WEIGHT_BYTES = {Quantization.NF4: 0.52, Quantization.INT8: 1.0}
OPTIMIZER_BYTES = {Optimizer.ADAMW_8BIT: 2, Optimizer.PAGED_ADAMW_8BIT: 2}  # else two moments in fp32
SPARE = 0.95  # of what is free, that a training may plan with


@dataclass(frozen=True)
class Tokens:
    """Of a batch: ``prefix`` that all share; ``own`` of a document with its questions; ``learned`` of its answers."""

    prefix: int
    own: int
    learned: int = 2


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what they hold."""

    weights: int
    adapter: int
    activations: int
    logits: int
    base: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Plan:
    """A training whose memory is estimated; ``gpu`` is whether it runs on one, ``bf16`` whether that computes in it."""

    shape: ModelShape
    recipe: LoraRecipe
    tokens: Tokens
    gpu: bool = False
    bf16: bool = False

    def estimate(self) -> MemoryEstimate:
        """What a step with the recipe's micro-batches takes at its highest."""
        recipe, shape = self.recipe, self.shape
        rows = min(recipe.micro_batch_size, recipe.batch_size)
        logits = rows * self.tokens.learned * shape.vocabulary * 12
        base = GPU_BASE if self.gpu else CPU_BASE
        return MemoryEstimate(self._weights(), self._adapter(), self._activations(rows), logits, base)

    def fitting(self, free: int) -> int:
        """Documents of the largest micro-batch, the recipe's halved again and again, that fits in so many bytes.

        0 where one document is too much.
        """
        for micro in halves(self.recipe.micro_batch_size):
            fits = replace(self, recipe=_cut(self.recipe, micro)).estimate().total <= SPARE * free
            if fits:
                return micro
        return 0

    @property
    def precision(self) -> Precision:
        """What activations are computed in, ``auto`` decided as ``trainer.base_model.resolved`` does."""
        if self.recipe.precision is Precision.AUTO:
            return Precision.BF16 if self.gpu and self.bf16 else Precision.FP32
        return self.recipe.precision

    def _weights(self) -> int:
        plain = 2 if self.precision is Precision.BF16 else 4
        if self.recipe.quantization is Quantization.NONE:
            return plain * (self.shape.linear_weights + self.shape.other_weights)
        linear = WEIGHT_BYTES[self.recipe.quantization] * self.shape.linear_weights
        return round(linear) + 4 * self.shape.other_weights

    def _modules(self) -> list[tuple[int, int]]:
        """Inputs and outputs of a layer's modules that LoRA is put on; all, where the recipe names others."""
        every, named = self.shape.linear, self.recipe.target_modules
        chosen = [every[name] for name in named if name in every] if isinstance(named, tuple) else []
        return chosen or list(every.values())

    def _adapter(self) -> int:
        parameters = self.shape.layers * self.recipe.rank * sum(map(sum, self._modules()))
        return parameters * (4 + 4 + OPTIMIZER_BYTES.get(self.recipe.optimizer, 8))

    def _activations(self, rows: int) -> int:
        tokens = self.tokens.prefix + rows * self.tokens.own
        low = self.precision is not Precision.FP32
        size = 2 if low else 4
        shape, modules = self.shape, self._modules()
        inner = (4 if shape.gated else 2) * shape.inner * shape.active
        a_token = size * (5 * shape.hidden + 2 * shape.query + inner + self.recipe.rank * len(modules))
        residuals = 2 * 4 * shape.hidden
        a_token += residuals if low else 0
        if self.recipe.dropout:
            inputs = sum(one for one, _ in modules)
            own = 2 * shape.hidden + shape.query + shape.inner  # inputs that several modules share, kept anyway
            a_token += max(0, size * (inputs - own)) + inputs * (1 if self.gpu else size)
        cached = size * 2 * shape.query * rows * (self.tokens.prefix + self.tokens.own)
        layer = a_token * tokens + cached
        every = shape.layers * layer
        if not self.recipe.gradient_checkpointing:
            return round((GPU_HOLDS if self.gpu else CPU_HOLDS) * every)
        kept = shape.layers * 4 * shape.hidden * tokens + layer
        return round(GPU_HOLDS * kept if self.gpu else CPU_HOLDS * kept + CPU_FORGETS * every)

    def thriftier(self) -> Iterator[tuple[str, Plan]]:
        """Changes of the recipe that need less and less, as it writes them, each with the plan that it makes."""
        recipe = self.recipe
        for micro in list(halves(recipe.micro_batch_size))[1:]:
            yield f"micro_batch_size: {micro}", replace(self, recipe=_cut(recipe, micro))
        told = "micro_batch_size: 1" if recipe.micro_batch_size > 1 else ""
        recipe = _cut(recipe, 1)
        steps: list[tuple[str, LoraRecipe]] = []
        if not recipe.gradient_checkpointing:
            recipe = replace(recipe, gradient_checkpointing=True)
            steps.append(("gradient_checkpointing: true", recipe))
        if recipe.quantization is not Quantization.NF4:
            recipe = replace(recipe, quantization=Quantization.NF4)
            steps.append(("quantization: nf4", recipe))
        for change, changed in steps:
            told = f"{told}, {change}" if told else change
            yield told, replace(self, recipe=changed)


def halves(documents: int) -> Iterator[int]:
    """The number itself, its half, and so on down to 1."""
    while documents >= 1:
        yield documents
        documents //= 2


def gigabytes(number: float) -> str:
    """Bytes for a person: ``3.4 GB``."""
    return f"{number / 1e9:.1f} GB"


def _cut(recipe: LoraRecipe, micro: int) -> LoraRecipe:
    """The recipe with smaller micro-batches, whatever the batch is divided by: the last of a step may be smaller."""
    return replace(recipe, micro_batch_size=micro, batch_size=recipe.batch_size // micro * micro or micro)
