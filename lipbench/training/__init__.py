"""Training zoos of models from recipes: losses, augmentation, adversarial training, sweeps."""
