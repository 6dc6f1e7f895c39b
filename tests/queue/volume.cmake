# Long runs over processes: each program is started again by itself.
add_library(queue_volume STATIC volume_child.c volume_judge.c volume_log.c volume_store.c)
target_link_libraries(queue_volume PUBLIC queue_support)
tito_test(queue_volume volume.c queue_volume)
set_tests_properties(queue_volume PROPERTIES TIMEOUT 900)
tito_test(queue_drained drained.c queue_support)
tito_on_tikv(queue_volume queue_drained)
