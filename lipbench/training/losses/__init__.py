"""Losses by registry name: modules called with logits (n, K) and index labels int64 (n,), returning a scalar.

``multiclass`` holds the losses of heads with one logit per class, ``binary`` those of single-logit heads: logits (n, 1)
and labels 0 or 1, where the sign of the logit is the prediction. The class attribute ``binary`` distinguishes them; a
plugin's loss without it is multiclass. A loss is one class, registered under its class attribute ``name``. The
parameters of its ``__init__`` are its hyperparameters: recipes, cards, the folder names of models and
``lipbench list losses`` take their names from there.

deel-torchlip's margin losses expect one-hot labels; with index labels some of them silently broadcast to a wrong value
when n == K. Here labels are indices, shapes are checked, and one-hot labels are computed inside.

All margins and temperatures are in the units of the logits of a network fed with inputs in [0, 1]. The experiments of
"Pay attention to your loss" (Bethune et al., NeurIPS 2022, arXiv 2104.05097) feed pixels in 0..255: their margin m
is m / 255 here, and their tau is 255 tau here.
"""

from lipbench.training.losses.build import build, head

__all__ = ["build", "head"]
