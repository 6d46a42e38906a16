"""What websocketd starts for each client: a line in, the same line out, at once."""

import sys

read_line, write, flush = sys.stdin.buffer.readline, sys.stdout.buffer.write, sys.stdout.buffer.flush
while line := read_line():
    write(line)
    flush()
