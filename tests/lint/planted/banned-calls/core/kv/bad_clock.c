/* Planted. */
int f(char *a, char *b)
{
    clock_gettime(0, &t);
}
