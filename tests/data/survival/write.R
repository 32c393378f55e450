# Writes intervals and what R's survival makes of them: Rscript tests/data/survival/write.R (R 4.2, survival 3.5).
# intervals.csv: data sets of intervals (after, at], at empty where censored, with weights.
# turnbull.csv: survival past each step by survfit, type interval2 (Turnbull's estimate).
# survreg.csv: coefficients and log-likelihood of log-normal and log-logistic accelerated failure times.
library(survival)
set.seed(7)
folder <- "tests/data/survival"
grid <- unique(c(0, ceiling(1.25^(0:40))))
grid <- grid[grid <= 4000]
one <- function(name, n, free, weights) {
  time <- exp(rnorm(n, log(300), 1)); time[runif(n) < 0.3] <- Inf
  decay <- rep(c(0, 1), length.out = n)
  time <- time * ifelse(decay == 1, 0.6, 1)
  points <- lapply(seq_len(n), function(i) if (free) sort(unique(c(0, sort(sample(1:3000, 12))))) else grid)
  ends <- sapply(seq_len(n), function(i) if (runif(1) < 0.3) sample(points[[i]][-(1:4)], 1) else max(points[[i]]))
  after <- sapply(seq_len(n), function(i) max(points[[i]][points[[i]] < min(time[i], ends[i] + 1e-9)]))
  at <- sapply(seq_len(n), function(i) { p <- points[[i]][points[[i]] >= time[i] & points[[i]] <= ends[i]]; if (length(p)) min(p) else NA })
  after <- ifelse(is.na(at), ends, after)
  data.frame(set = name, after = after, at = at, decay = decay, weight = if (weights) sample(1:4, n, TRUE) else 1)
}
sets <- rbind(one("grid", 60, FALSE, FALSE), one("free", 60, TRUE, FALSE), one("weighted", 40, TRUE, TRUE))
write.csv(sets, file.path(folder, "intervals.csv"), row.names = FALSE, na = "")
curves <- NULL; fits <- NULL
for (name in unique(sets$set)) {
  d <- sets[sets$set == name, ]
  fit <- survfit(Surv(after, at, type = "interval2") ~ 1, data = d, weights = weight)
  curves <- rbind(curves, data.frame(set = name, step = fit$time, survival = fit$surv))
  # A left end of 0 is minus infinity on the logarithmic scale, which survreg writes as missing.
  left <- ifelse(d$after == 0, NA, d$after)
  for (law in c("lognormal", "loglogistic")) {
    reg <- survreg(Surv(left, d$at, type = "interval2") ~ d$decay, weights = d$weight, dist = law)
    fits <- rbind(fits, data.frame(set = name, law = law, constant = coef(reg)[[1]], decay = coef(reg)[[2]],
                                   scale = reg$scale, log_likelihood = reg$loglik[2]))
  }
}
write.csv(curves, file.path(folder, "turnbull.csv"), row.names = FALSE)
write.csv(format(fits, digits = 12), file.path(folder, "survreg.csv"), row.names = FALSE)
