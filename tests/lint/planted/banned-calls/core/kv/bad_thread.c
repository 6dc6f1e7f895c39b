/* Planted. */
int f(char *a, char *b)
{
    pthread_mutex_lock(&m);
}
