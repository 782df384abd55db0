/* Loaded into the compiler: its hash maps get the same seed each time.
 *
 * Macros of crates run in the compiler, and some write what they find in a hash map in the order in which it is there
 * (i18n-embed-fl 0.9, by way of age 0.11: str4d/rage#568). Rust's hash maps are seeded by getrandom. */
#include <string.h>
#include <sys/types.h>

ssize_t getrandom(void *to, size_t length, unsigned flags) {
  (void)flags;
  memset(to, 7, length);
  return (ssize_t)length;
}
