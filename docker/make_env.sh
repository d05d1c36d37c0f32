#!/bin/sh
# Prints .env.example with a secret for every line that has a `# make:` command above it:
#   sh docker/make_env.sh > .env
set -eu
umask 077

command=
while IFS= read -r line; do
  case "$line" in
    '# make: '*) command=${line#'# make: '} ;;
    *=) [ -z "$command" ] || line="$line$(eval "$command")"; command= ;;
  esac
  printf '%s\n' "$line"
done < "$(dirname "$0")/../.env.example"
