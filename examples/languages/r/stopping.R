# The distance that a car takes to stop from a speed, by a linear model that train.R has made.
model <- readRDS("stopping.rds")

inputs <- list(speed = list(datatype = "FP64", shape = -1))
outputs <- list(distance = list(datatype = "FP64", shape = -1))
batchable <- TRUE

predict <- function(speed) {
  if (any(speed < 0)) invalid_input("a speed is below zero: send 0 or more")
  list(distance = unname(stats::predict(model, data.frame(speed = speed))))
}
