# Scores of R's `surveillance` on hourly counts: Rscript peers.R METHOD IN.csv OUT.csv FIRST
# IN.csv: columns series, k, n, hours in order. FIRST: the first hour that is scored, from 1.
suppressPackageStartupMessages(library(surveillance))
arguments <- commandArgs(trailingOnly = TRUE)
method <- arguments[1]
counts <- read.csv(arguments[2])
first <- as.integer(arguments[4])

far <- function(k, n, range) {
  series <- sts(observed = matrix(k), population = matrix(pmax(n, 1)), frequency = 168, start = c(1, 1))
  found <- farringtonFlexible(series, control = list(
    range = range, b = 2, w = 2, noPeriods = 1, populationOffset = TRUE, reweight = TRUE,
    weightsThreshold = 2.58, pastWeeksNotIncluded = 24, trend = FALSE, verbose = FALSE,
    thresholdMethod = "nbPlugin", alpha = 0.001, limit54 = c(0, 1)))
  found@control$score
}

ears <- function(k, range) {
  series <- sts(observed = matrix(k), frequency = 168, start = c(1, 1))
  bound <- function(alpha) {
    earsC(series, control = list(range = range, method = "C2", alpha = alpha))@upperbound
  }
  low <- bound(0.01)
  high <- bound(0.001)
  spread <- (high - low) / (qnorm(0.999) - qnorm(0.99))
  (k[range] - (low - qnorm(0.99) * spread)) / pmax(spread, 0.1)
}

glr <- function(k, range) {
  series <- sts(observed = matrix(k), frequency = 24, start = c(1, 1))
  found <- glrnb(series, control = list(
    range = range, c.ARL = 1e9, mu0 = list(S = 1, trend = FALSE), theta = NULL, M = 4,
    ret = "value", dir = "inc"))
  found@upperbound
}

scores <- lapply(split(counts, counts$series), function(one) {
  range <- first:nrow(one)
  score <- switch(method,
    farringtonFlexible = far(one$k, one$n, range), earsC = ears(one$k, range), glrnb = glr(one$k, range))
  score <- as.numeric(score)
  score[!is.finite(score)] <- 0
  data.frame(series = one$series[1], hour = range, score = score)
})
write.csv(do.call(rbind, scores), arguments[3], row.names = FALSE)
