# Long runs over processes: the program is started again by itself.
add_library(queue_volume STATIC volume_child.c volume_judge.c volume_log.c volume_store.c)
target_link_libraries(queue_volume PUBLIC queue_support)
tito_test(queue_judge_self judge_self.c queue_volume)
tito_test(queue_volume volume.c queue_volume)
tito_test(queue_drained drained.c queue_support)
tito_on_tikv(queue_volume queue_drained)
# The same program: how a worker ends; one that stands still on the embedded engine; more than it can do; workers whose
# clocks are wrong (the package faketime); stores that restart.
add_test(NAME queue_ends COMMAND test_queue_volume ends)
add_test(NAME queue_stops COMMAND test_queue_volume stops)
add_test(NAME queue_overload COMMAND test_queue_volume overload)
add_test(NAME queue_stores_tikv COMMAND test_queue_volume stores)
add_test(NAME queue_ends_tikv COMMAND test_queue_volume ends)
add_test(NAME queue_clocks_tikv COMMAND test_queue_volume clocks)
foreach(name queue_ends queue_stops queue_overload queue_ends_tikv queue_clocks_tikv queue_stores_tikv)
  tito_label(${name})
endforeach()
set_tests_properties(queue_ends_tikv queue_clocks_tikv queue_stores_tikv PROPERTIES
  ENVIRONMENT TITO_TEST_ENGINE=tikv FIXTURES_REQUIRED mock_cluster)
set_tests_properties(queue_volume queue_volume_tikv queue_ends queue_stops queue_overload queue_ends_tikv
  queue_clocks_tikv queue_stores_tikv
  PROPERTIES TIMEOUT 900)
