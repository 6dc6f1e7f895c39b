/* Planted. */
void f(char *a)
{
    sprintf(a, "x");
}
