local tito = {}
return tito
