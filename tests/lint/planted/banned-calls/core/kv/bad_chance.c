/* Planted. */
int f(char *a, char *b)
{
    int x = rand ();
}
