/* Planted. */
int f(char *a, char *b)
{
    void *p = malloc(4);
}
