"""The grades of a certificate: what a certified radius assumes. Importing this module does not import torch."""

GRADES = ("float", "real", "nominal")  # from the strongest, which holds for the network as it runs, to the weakest
EXACT_GRADES = ("real", "nominal")  # these grades state facts of exact arithmetic
CLAIM_TOLERANCE = 3e-6  # float32 weights that are orthogonal by construction end about 1.5e-7 above 1 per dense layer
