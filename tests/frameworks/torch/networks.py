"""Small networks, really trained for a moment, as the classes that users write.

This file is also what lies beside a state dict, so it imports nothing of Salver.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


class Mlp(nn.Module):
    """A classifier of flowers."""

    inputs = [{"name": "flowers", "datatype": "FP32", "shape": [-1, 4]}]

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, flowers: torch.Tensor) -> torch.Tensor:
        return self.layers(flowers)


class Cnn(nn.Module):
    """Tells bright images from dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image).mean(dim=(2, 3)))


class Lstm(nn.Module):
    """The next value of a series, and the state it is in."""

    inputs = [{"name": "series", "datatype": "FP32", "shape": [-1, -1, 1]}]

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 6, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, series: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, _ = self.lstm(series)
        return self.head(states[:, -1]), states


class Words(nn.Module):
    """A sentence's mood, from the numbers of its words."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(words).mean(dim=1))


class Pair(nn.Module):
    """Two inputs, answers by name."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(2, 3)
        self.right = nn.Linear(4, 3)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> dict[str, torch.Tensor]:
        left, right = self.left(user), self.right(item)
        return {"score": (left * right).sum(dim=1), "user": left}


@dataclass
class Verdict:
    """An answer as a dataclass."""

    chances: torch.Tensor
    best: torch.Tensor


class Judge(nn.Module):
    """Answers with a dataclass, in half precision where its weights are."""

    inputs = [{"name": "flowers", "datatype": "FP32", "shape": [-1, 4]}]

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, flowers: torch.Tensor) -> Verdict:
        chances = self.head(flowers.to(self.head.weight.dtype)).softmax(dim=1)
        return Verdict(chances, chances.argmax(dim=1))


class Centred(nn.Module):
    """Rows depend on each other: it must never be batched."""

    inputs = [{"name": "rows", "datatype": "FP32", "shape": [-1, 2]}]

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        rows -= rows.mean(dim=0, keepdim=True)
        return rows * self.scale


def trained(module: nn.Module, inputs: tuple[torch.Tensor, ...], target: torch.Tensor) -> nn.Module:
    """The module after a few steps towards the target, in evaluation mode."""
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    first = last = 0.0
    for step in range(30):
        answer = module(*inputs)
        answer = answer["score"] if isinstance(answer, dict) else answer
        answer = answer[0] if isinstance(answer, tuple) else answer
        loss = nn.functional.mse_loss(answer, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < first, "it did not learn"
    return module.eval()
