"""Attacks of adv-lib (github.com/jeromerony/adversarial-library), which the extra ``adv-lib`` installs."""
