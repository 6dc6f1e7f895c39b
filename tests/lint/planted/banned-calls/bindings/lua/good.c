/* Memory may be used here. */
void *f(void)
{
    return malloc(1);
}
