#!/bin/sh
# Builds a model's jar, with the few classes of this folder in it:
#   build.sh MAIN_CLASS OUT.jar SOURCE.java...
set -eu
if [ $# -lt 3 ]; then
  echo "usage: $0 MAIN_CLASS OUT.jar SOURCE.java..." >&2
  exit 2
fi
main=$1
jar=$2
shift 2
wrapper=$(dirname "$(realpath "$0")")
classes=$(mktemp -d)
trap 'rm -rf "$classes"' EXIT
javac --release 17 -d "$classes" "$wrapper"/src/dev/salver/*.java "$@"
jar --create --file "$jar" --main-class "$main" -C "$classes" .
