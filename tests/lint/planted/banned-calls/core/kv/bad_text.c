/* Planted. */
int f(char *a, char *b)
{
    strcpy(a, b);
}
