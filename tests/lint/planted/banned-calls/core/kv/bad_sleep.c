/* Planted. */
int f(char *a, char *b)
{
    if (x)
        usleep(5);
}
