/* Planted. */
int f(char *a, char *b)
{
    fprintf(stderr, a);
}
