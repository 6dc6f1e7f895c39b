/* Not formatted. */
int f(int a) {
  return a; }
