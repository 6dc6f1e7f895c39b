/* check_plant PLACE: makes a database there (db_open_place) that has all of plant.h's damage. For the tests of `tito check`. */
#include "model/plant.h"

int main(int argc, char **argv)
{
    db d;
    if (argc != 2)
        return 2;
    db_open_place(&d, argv[1]);
    ti_model *m = plant_users(&d);
    plant_damage(&d);
    ti_model_unref(m);
    db_close(&d);
    return 0;
}
