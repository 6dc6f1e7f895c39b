/* Planted. */
int f(char *a, char *b)
{
    return atoi(a);
}
