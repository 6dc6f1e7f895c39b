/* Here it is allowed. */
void *f(void)
{
    return malloc(1);
}
