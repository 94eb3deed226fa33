"""Attacks of adv-lib (Rony and Ben Ayed, github.com/jeromerony/adversarial-library), which the extra ``adv-lib`` installs."""
