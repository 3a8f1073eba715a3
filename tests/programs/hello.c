/* The smallest static C program: what an initramfs made for Linux carries to show that it runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	char *copy = malloc(64);

	if (!copy) {
		perror("malloc");
		return 1;
	}
	strcpy(copy, "hello from C");
	printf("%s\n", copy);
	for (int i = 1; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	printf("%.3f\n", 355.0 / 113.0);
	free(copy);
	return 0;
}
