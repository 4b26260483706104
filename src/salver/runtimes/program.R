# Serves the function `predict` of an R file over Salver's framed protocol
# (docs/framed-protocol.md). Base R alone; no package is needed.
#
# The file may also define
#   inputs, outputs   lists by name of list(datatype = "FP64", shape = c(-1, 4))
#   batchable         TRUE: the rows of several requests may be predicted together
# and use `invalid_input("...")` to refuse a request that is the caller's fault.
#
# `predict` gets one argument for each input, by name. With a parameter `inputs` it gets all of them
# as a list instead, with a parameter `parameters` the request's parameters. It returns a list or a
# data frame of outputs, or the one output alone.

.salver <- new.env()

.salver$magic <- charToRaw("SLVR")

# --- what goes over the wire -------------------------------------------------------------------

.salver$escape <- function(text) {
  text <- gsub("\\", "\\\\", enc2utf8(as.character(text)), fixed = TRUE)
  text <- gsub("\t", "\\t", text, fixed = TRUE)
  text <- gsub("\r", "\\r", text, fixed = TRUE)
  gsub("\n", "\\n", text, fixed = TRUE)
}

.salver$unescape <- function(text) {
  if (!any(grepl("\\", text, fixed = TRUE))) return(text)
  text <- gsub("\\\\", "\001", text, fixed = TRUE)
  text <- gsub("\\t", "\t", text, fixed = TRUE)
  text <- gsub("\\r", "\r", text, fixed = TRUE)
  text <- gsub("\\n", "\n", text, fixed = TRUE)
  gsub("\001", "\\", text, fixed = TRUE)
}

.salver$receive <- function(connection) {
  mark <- readBin(connection, "raw", 4L)
  if (length(mark) < 4L) return(NULL)
  if (!identical(mark, .salver$magic)) stop("what was read is no message")
  sizes <- readBin(connection, "integer", 2L, size = 4L, endian = "little")
  head <- rawToChar(readBin(connection, "raw", sizes[1]))
  Encoding(head) <- "UTF-8"
  lines <- strsplit(strsplit(head, "\n", fixed = TRUE)[[1]], "\t", fixed = TRUE)
  body <- if (sizes[2] > 0L) readBin(connection, "raw", sizes[2]) else raw()
  list(lines = lapply(lines, .salver$unescape), body = body)
}

.salver$send <- function(connection, lines, bodies = list()) {
  texts <- vapply(lines, function(line) paste(.salver$escape(line), collapse = "\t"), "")
  head <- charToRaw(enc2utf8(paste(texts, collapse = "\n")))
  sizes <- c(length(head), sum(lengths(bodies)))
  prefix <- c(.salver$magic, writeBin(as.integer(sizes), raw(), endian = "little"), head)
  writeBin(do.call(c, c(list(prefix), unname(bodies))), connection)
  flush(connection)
}

.salver$shape <- function(text) {
  if (text == "") integer() else as.integer(strsplit(text, ",", fixed = TRUE)[[1]])
}

# Whole numbers of eight bytes are doubles in R: exact up to 2^53.
.salver$long <- function(bytes, count, signed) {
  halves <- matrix(readBin(bytes, "integer", 2 * count, size = 4L, endian = "little"), nrow = 2)
  low <- halves[1, ] + ifelse(halves[1, ] < 0, 2^32, 0)
  high <- as.double(halves[2, ])
  # The one number of four bytes that R calls missing.
  low[is.na(low)] <- 2^31
  high[is.na(high)] <- -2^31
  if (!signed) high <- high + ifelse(high < 0, 2^32, 0)
  high * 2^32 + low
}

.salver$int32 <- function(bytes, count) {
  values <- readBin(bytes, "integer", count, size = 4L, endian = "little")
  if (anyNA(values)) {
    values <- as.double(values)
    values[is.na(values)] <- -2^31
  }
  values
}

.salver$texts <- function(bytes) {
  found <- list()
  at <- 0L
  while (at < length(bytes)) {
    size <- readBin(bytes[at + 1:4], "integer", 1L, size = 4L, endian = "little")
    part <- bytes[at + 4L + seq_len(size)]
    found[[length(found) + 1L]] <- part
    at <- at + 4L + size
  }
  if (any(vapply(found, function(part) any(part == 0), TRUE))) {
    .salver$refuse("a string holds a zero byte, which R's strings cannot")
  }
  values <- vapply(found, rawToChar, "")
  Encoding(values) <- "UTF-8"
  values
}

.salver$values <- function(datatype, count, bytes) {
  read <- function(what, size, ...) {
    readBin(bytes, what, count, size = size, endian = "little", ...)
  }
  switch(datatype,
    FP64 = read("double", 8L),
    FP32 = read("double", 4L),
    BF16 = readBin(as.vector(rbind(as.raw(0), as.raw(0), matrix(bytes, nrow = 2))), "double",
                   count, size = 4L, endian = "little"),
    INT32 = .salver$int32(bytes, count),
    INT16 = read("integer", 2L),
    INT8 = read("integer", 1L),
    UINT16 = read("integer", 2L, signed = FALSE),
    UINT8 = read("integer", 1L, signed = FALSE),
    UINT32 = {
      values <- as.double(.salver$int32(bytes, count))
      values + ifelse(values < 0, 2^32, 0)
    },
    INT64 = .salver$long(bytes, count, TRUE),
    UINT64 = .salver$long(bytes, count, FALSE),
    BOOL = bytes != 0,
    BYTES = .salver$texts(bytes),
    .salver$refuse(paste0("R has no numbers of datatype ", datatype, "; send FP32"))
  )
}

# The wire has rows one after another, R has columns.
.salver$array <- function(values, shape) {
  if (length(shape) < 2L) return(values)
  if (length(shape) == 2L) return(matrix(values, shape[1], shape[2], byrow = TRUE))
  aperm(array(values, rev(shape)))
}

.salver$bytes <- function(name, values, datatype) {
  if (datatype == "BYTES") {
    if (anyNA(values)) stop("output '", name, "' has a missing string; give another value")
    parts <- lapply(enc2utf8(as.character(values)), charToRaw)
    sizes <- lapply(lengths(parts), writeBin, raw(), endian = "little")
    return(do.call(c, c(list(raw()), rbind(sizes, parts))))
  }
  floats <- c(FP64 = 8L, FP32 = 4L)
  whole <- c(INT32 = 4L, INT16 = 2L, INT8 = 1L, UINT8 = 1L, UINT16 = 2L)
  if (!datatype %in% names(floats) && anyNA(values)) {
    stop("output '", name, "' has a missing value, and ", datatype, " has none; give FP64")
  }
  if (datatype == "BOOL") return(as.raw(as.logical(values)))
  if (datatype %in% names(floats)) {
    return(writeBin(as.double(values), raw(), size = floats[[datatype]], endian = "little"))
  }
  values <- round(as.double(values))
  if (datatype %in% c("INT64", "UINT64", "UINT32")) {
    high <- floor(values / 2^32)
    halves <- rbind(values - high * 2^32, high)
    # R's whole numbers stop at 2^31, so larger ones are written as the negative of equal bits.
    halves <- ifelse(halves >= 2^31, halves - 2^32, halves)
    bits <- .salver$bits(halves)
    return(if (datatype == "UINT32") as.vector(matrix(bits, nrow = 8)[1:4, ]) else bits)
  }
  if (!datatype %in% names(whole)) stop("output '", name, "' cannot be ", datatype, " in R")
  if (datatype == "INT32") return(.salver$bits(values))
  writeBin(as.integer(values), raw(), size = whole[[datatype]], endian = "little")
}

.salver$bits <- function(values) {
  whole <- suppressWarnings(as.integer(values))
  if (any(is.na(whole) & values != -2^31)) stop("a whole number is too large for its datatype")
  # NA is stored as -2^31, the very number that is not one of R's.
  writeBin(whole, raw(), size = 4L, endian = "little")
}

# --- the model ---------------------------------------------------------------------------------

.salver$refuse <- function(text) {
  stop(structure(class = c("invalid_input", "error", "condition"),
                 list(message = text, call = NULL)))
}

.salver$datatype <- function(values) {
  if (is.logical(values)) "BOOL"
  else if (is.integer(values)) "INT32"
  else if (is.numeric(values)) "FP64"
  else "BYTES"
}

.salver$described <- function(kind, tensors) {
  lapply(names(tensors), function(name) {
    each <- as.list(tensors[[name]])
    shape <- if (is.null(each$shape)) "*" else paste(each$shape, collapse = ",")
    c(kind, name, each$datatype, shape, if (isTRUE(each$optional)) "optional")
  })
}

.salver$output <- function(name, values, declared) {
  if (is.factor(values)) values <- as.character(values)
  if (!is.atomic(values) || is.null(values)) {
    stop("output '", name, "' is of class ", class(values)[1], "; return vectors or arrays")
  }
  datatype <- declared[[name]]$datatype
  if (is.null(datatype)) datatype <- .salver$datatype(values)
  shape <- if (is.null(dim(values))) length(values) else dim(values)
  if (length(shape) > 1L) values <- aperm(values)
  bytes <- .salver$bytes(name, as.vector(values), datatype)
  line <- c("output", name, datatype, paste(shape, collapse = ","), length(bytes))
  list(line = line, bytes = bytes)
}

.salver$answer <- function(model, message) {
  inputs <- list()
  parameters <- list()
  at <- 0L
  for (line in message$lines) {
    line <- c(line, "", "", "")
    if (line[1] == "input") {
      shape <- .salver$shape(line[4])
      size <- as.integer(line[5])
      bytes <- message$body[at + seq_len(size)]
      values <- .salver$values(line[3], as.integer(prod(shape)), bytes)
      inputs[[line[2]]] <- .salver$array(values, shape)
      at <- at + size
    } else if (line[1] == "parameter") {
      parameters[[line[2]]] <- line[3]
    }
  }
  wanted <- names(formals(model$predict))
  arguments <- if ("inputs" %in% wanted) list(inputs = inputs) else inputs
  # One input goes to the first parameter, whatever the two are called.
  if (length(inputs) == 1L && length(wanted) && !any(names(arguments) %in% wanted)) {
    names(arguments) <- wanted[1]
  }
  if ("parameters" %in% wanted) arguments$parameters <- parameters
  answer <- do.call(model$predict, arguments)
  if (!is.list(answer)) {
    answer <- list(answer)
    names(answer) <- if (length(model$outputs)) names(model$outputs)[1] else "predict"
  }
  if (is.null(names(answer)) || any(names(answer) == "")) stop("an output has no name")
  lapply(names(answer), function(name) .salver$output(name, answer[[name]], model$outputs))
}

.salver$load <- function(path) {
  scope <- new.env(parent = globalenv())
  scope$invalid_input <- .salver$refuse
  source(path, local = scope, encoding = "UTF-8")
  if (!exists("predict", scope, mode = "function", inherits = FALSE)) {
    stop(basename(path), " defines no function predict")
  }
  scope
}

.salver$lineof <- function(error, kind) {
  function(id) list(c("error", id, kind, conditionMessage(error)))
}

.salver$serve <- function(path) {
  requests <- file("stdin", "rb")
  answers <- file(Sys.getenv("SALVER_ANSWERS", "/dev/stdout"), "wb", raw = TRUE)
  sink(stderr())
  setwd(dirname(path))
  model <- .salver$load(path)
  .salver$send(answers, c(
    list(c("hello", "1"), c("platform", "r"),
         c("batchable", if (isTRUE(model$batchable)) "yes" else "no")),
    .salver$described("input", model$inputs),
    .salver$described("output", model$outputs)
  ))
  while (!is.null(message <- .salver$receive(requests))) {
    id <- message$lines[[1]][2]
    if (message$lines[[1]][1] == "ping") {
      .salver$send(answers, list(c("pong", id)))
    } else if (message$lines[[1]][1] == "request") {
      found <- tryCatch(.salver$answer(model, message),
        invalid_input = function(error) .salver$lineof(error, "input"),
        error = function(error) .salver$lineof(error, "model"))
      if (is.function(found)) {
        .salver$send(answers, found(id))
      } else {
        .salver$send(answers, c(list(c("answer", id)), lapply(found, `[[`, "line")),
                     lapply(found, `[[`, "bytes"))
      }
    }
  }
}

options(warn = 1)
.salver$serve(commandArgs(trailingOnly = TRUE)[1])
