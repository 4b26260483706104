# Trains a linear model of the stopping distances of cars, and saves it beside this file.
arguments <- commandArgs(trailingOnly = TRUE)
file <- if (length(arguments)) arguments[1] else "stopping.rds"
saveRDS(lm(dist ~ speed, data = cars), file)
