"""AutoAttack (Croce and Hein 2020, arXiv 2003.01690) through pyautoattack, for any number of classes.

``standard`` is the library's unmodified ensemble, at one eps. Its four attacks also stand alone, in a form that takes a
radius for each row and skips classes that the certificate excludes.
"""
