/* tab */
	int a;
