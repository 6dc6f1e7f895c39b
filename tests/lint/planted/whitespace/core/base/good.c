/* fine */

int a;
