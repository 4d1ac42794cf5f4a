/* What a long command is at, on stderr: on a terminal one line, written over by the next;
 * elsewhere, as in a log, a line every half minute at most, so that commands that take less print
 * nothing. */
#ifndef TANDEM_EXPERIMENTS_PROGRESS_H
#define TANDEM_EXPERIMENTS_PROGRESS_H

/* No line break; what is beyond 120 bytes is cut. */
void progress_show(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Before anything else is printed: takes the line away from a terminal. */
void progress_end(void);

#endif
