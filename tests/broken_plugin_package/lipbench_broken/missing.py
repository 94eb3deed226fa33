"""A module that needs a package which is not installed."""

import a_package_that_nobody_has

loss = a_package_that_nobody_has.loss
